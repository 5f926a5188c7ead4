// What CI runs, in CI's order, without provisioning the machine: build, lint, dependencies, generated files, the
// packed package, tests.
import { checkApi } from './api.mjs';
import { build } from './build.mjs';
import { checkPackage } from './check-package.mjs';
import { checkDeclarations } from './declarations.mjs';
import { checkDependencies } from './dependency-gates.mjs';
import { lint } from './lint.mjs';
import { whenStarted } from './run.mjs';
import { test } from './test.mjs';

whenStarted(import.meta.url, () => {
  build();
  lint();
  checkDependencies();
  checkDeclarations();
  checkApi();
  checkPackage();
  test();
});
