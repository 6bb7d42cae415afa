// Runs a WASI preview 1 command under Node, with the same options as the engines' command lines.
import fs from 'node:fs';
import { WASI } from 'node:wasi';

const preopens = {}, env = {};
let argv0, compileOnly = false, i = 2;
for (; process.argv[i]?.startsWith('--'); i++) {
  const [flag, ...rest] = process.argv[i].split('='), value = rest.join('=');
  if (flag === '--dir') { const [host, guest] = value.split('::'); preopens[guest] = host; }
  else if (flag === '--env') { const [name, ...v] = value.split('='); env[name] = v.join('='); }
  else if (flag === '--argv0') argv0 = value;
  else if (flag === '--compile') compileOnly = true;
  else throw new Error(`unknown flag ${flag}`);
}
const file = process.argv[i], args = process.argv.slice(i + 1);
const module = await WebAssembly.compile(fs.readFileSync(file));
if (!compileOnly) {
  const wasi = new WASI({ version: 'preview1', args: [argv0 ?? file, ...args], env, preopens, returnOnExit: true });
  const bench = { start() {}, end() {} };
  const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), bench });
  process.exitCode = wasi.start(instance);
}
