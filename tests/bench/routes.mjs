// Prints the route table of the case `routes`.

import { manyRules } from "./cases.mjs";

console.log(manyRules());
