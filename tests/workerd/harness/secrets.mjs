// The secrets of a test run: drawn anew each time, so that nothing can depend on their values.

import { randomBytes } from "node:crypto";

const hex = (bytes) => randomBytes(bytes).toString("hex");

export const secrets = Object.freeze({
  KEYGATE_PEPPER: `3:${hex(32)}`,
  KEYGATE_SIGNING_KEY: `7:${hex(32)}`,
  KEYGATE_ROOT_TOKEN: `root-${hex(24)}`,
});

/** A second pepper, with an id of its own. */
export const otherPepper = `9:${hex(32)}`;

/** A second signing key, with an id of its own. */
export const otherSigningKey = `4:${hex(32)}`;
