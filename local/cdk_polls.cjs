// The CDK CLI polls a stack every five seconds, without an option to change that. The embedded AWS needs about one second.
const original = globalThis.setTimeout;
globalThis.setTimeout = (callback, delay, ...rest) => original(callback, delay === 5000 ? 500 : delay, ...rest);
