// Runs before `npm start` and the other scripts, on whatever Node the person has: in one sentence, what is missing.
// CommonJS and old JavaScript on purpose: an old Node must be able to read this file, and nothing may need node_modules.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
const wanted = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));

/** What to do before anything else, or undefined. */
function advice() {
  const modules = path.join(root, 'node_modules');
  if (!fs.existsSync(modules)) return 'Nothing is installed yet: run `npm ci` first.';
  const packages = Object.assign({}, wanted.dependencies, wanted.devDependencies);
  for (const name of Object.keys(packages)) {
    const installed = versionOf(path.join(modules, name, 'package.json'));
    const asked = packages[name].replace(/^npm:.*@/, '');
    if (installed === asked) continue;
    return `${name} is ${installed === undefined ? 'missing' : installed}, and package.json asks for ${asked}: run \`npm ci\`.`;
  }
  const major = Number(process.versions.node.split('.')[0]);
  // npm puts node_modules/.bin first, so this is the Node of the lock file unless its install script did not run.
  const required = packages.node.split('.')[0];
  if (major < Number(required)) {
    return `This is Node ${process.versions.node}, and the scripts need the Node ${packages.node} that npm installs: run \`npm ci\` again, with its scripts allowed (without --ignore-scripts), or install Node ${required}.`;
  }
  return undefined;
}

function versionOf(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')).version.replace(/^v/, '');
  } catch {
    return undefined;
  }
}

const sentence = advice();
if (sentence !== undefined) {
  process.stderr.write(`\n${sentence}\n\n`);
  process.exit(1);
}
