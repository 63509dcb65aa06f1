// CloudFront Functions as CloudFront runs them: a line of JSON in, a line of JSON out.
//
// Each function gets a fresh context that holds what "JavaScript runtime 2.0 features for CloudFront Functions" (AWS, CloudFront
// Developer Guide) offers, and nothing else of Node or V8. Only what versions 1.0 and 2.0 share of ES5.1 to ES9 is listed, which is
// stricter than 2.0. Syntax beyond ES 5.1 is refused by Node's own parser. Run with --jitless (like CloudFront, no compiler) and
// --expose-internals (the parser).
'use strict';
const readline = require('node:readline');
const vm = require('node:vm');
const acorn = require('internal/deps/acorn/acorn/dist/acorn');

const words = (text) => text.trim().split(/\s+/);
const GLOBALS = words(`
  Array ArrayBuffer Boolean Date Error EvalError Float32Array Float64Array Function Infinity Int16Array Int32Array Int8Array JSON Math NaN
  Number Object Promise RangeError ReferenceError RegExp String SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array
  Uint8ClampedArray decodeURI decodeURIComponent encodeURI encodeURIComponent globalThis isFinite isNaN parseFloat parseInt undefined`);
const METHODS = {
  Object: words(`assign create length name prototype defineProperties defineProperty entries freeze getOwnPropertyDescriptor getOwnPropertyNames getPrototypeOf is
    isExtensible isFrozen isSealed keys preventExtensions seal setPrototypeOf values`),
  'Object.prototype': words('constructor hasOwnProperty isPrototypeOf propertyIsEnumerable toString valueOf __proto__'),
  'String.prototype': words(`charAt charCodeAt codePointAt concat constructor endsWith includes indexOf lastIndexOf length match padEnd
    padStart repeat replace search slice split startsWith substr substring toLowerCase toString toUpperCase trim trimEnd trimStart valueOf`),
  'Array.prototype': words(`concat constructor copyWithin every fill filter find findIndex forEach includes indexOf join lastIndexOf length
    map pop push reduce reduceRight reverse shift slice some sort splice toString unshift`),
};

const functions = new Map();

function load(code) {
  if (functions.has(code)) return functions.get(code);
  acorn.parse(code, { ecmaVersion: 5 });
  const context = vm.createContext(Object.create(null), { codeGeneration: { strings: false, wasm: false } });
  const inside = (text) => vm.runInContext(text, context);
  const parse = inside('JSON.parse');
  for (const [owner, offered] of Object.entries(METHODS)) {
    const object = inside(owner);
    for (const name of Object.getOwnPropertyNames(object)) if (!offered.includes(name)) delete object[name];
  }
  for (const name of inside('Object.getOwnPropertyNames(globalThis)')) if (!GLOBALS.includes(name)) inside(`delete globalThis.${name}`);
  const handler = inside(`"use strict";\n${code}\nhandler`);
  functions.set(code, { handler, parse });
  return functions.get(code);
}

function answer({ code, event, times = 1 }) {
  const { handler, parse } = load(code);
  const text = JSON.stringify(event);
  const taken = [];
  let result;
  for (let i = 0; i < times; i++) {
    const fresh = parse(text);
    const start = process.hrtime.bigint();
    result = handler(fresh);
    taken.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  return { result, microseconds: taken.sort((a, b) => a - b)[Math.floor(taken.length / 2)] };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let reply;
  try {
    reply = answer(JSON.parse(line));
  } catch (error) {
    reply = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
});
