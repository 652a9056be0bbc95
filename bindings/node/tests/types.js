'use strict';
// Whether the addon has what the types promise, and the types all that it has; `types` runs it, since
// it reads them with the compiler.
const assert = require('node:assert');
const path = require('node:path');
const ts = require('typescript');
const binding = require('../lib/index.js');

const file = path.join(__dirname, '..', 'index.d.ts');
const program = ts.createProgram([file], { target: ts.ScriptTarget.ES2022 });
const source = program.getSourceFile(file);
const exported = source.statements.filter((statement) =>
  statement.modifiers?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword));

/** The names that a class has for its users, apart by who has them: the class, or what is made of it. */
function members(declaration) {
  const names = { own: new Set(), statics: new Set() };
  for (const member of declaration.members) {
    const flags = ts.getCombinedModifierFlags(member);
    if (!member.name || ts.isConstructorDeclaration(member)) continue;
    (flags & ts.ModifierFlags.Static ? names.statics : names.own).add(member.name.getText(source));
  }
  return names;
}

/** A key as the types write it. */
function written(key) {
  if (typeof key !== 'symbol') return key;
  return `[Symbol.${Object.getOwnPropertyNames(Symbol).find((name) => Symbol[name] === key) ?? key.description}]`;
}

const values = new Set();
for (const statement of exported) {
  if (ts.isVariableStatement(statement)) {
    for (const each of statement.declarationList.declarations) values.add(each.name.getText(source));
  } else if (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) {
    values.add(statement.name.getText(source));
  }
  if (!ts.isClassDeclaration(statement)) continue;
  const made = binding[statement.name.getText(source)];
  const { own, statics } = members(statement);
  for (const name of statics) assert(name in made, `${statement.name.getText(source)}.${name} is promised`);
  const methods = Reflect.ownKeys(made.prototype).map(written).filter((name) => name !== 'constructor' && !/^_/.test(name));
  for (const name of methods) assert(own.has(name), `${statement.name.getText(source)} has ${name}, of which the types say nothing`);
  for (const member of statement.members.filter((each) => ts.isMethodDeclaration(each))) {
    const name = member.name.getText(source);
    const isStatic = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Static;
    assert(isStatic || methods.includes(name), `${statement.name.getText(source)} is promised ${name}`);
  }
}
assert.deepStrictEqual([...values].sort(), Object.keys(binding).sort(), 'what the types export and what is there');
console.log(`types: ${values.size} exports are there`);
