// The CDK's CLI asks every five seconds how a stack is doing, and has no option for it. The embedded AWS deploys most in one.
const patient = globalThis.setTimeout;
globalThis.setTimeout = (callback, delay, ...rest) => patient(callback, delay === 5000 ? 500 : delay, ...rest);
