// Hono with its own middleware for bearer tokens, and the look-up of js-kv.js.

import { Hono } from "hono";
import { bearerAuth } from "hono/bearer-auth";
import { decided, demands, digest, isGood } from "./verdict.js";

const app = new Hono();

app.use(
  "/_keygate/*",
  bearerAuth({
    async verifyToken(key, context) {
      const record = await context.env.KEYS.get(await digest(key), "json");
      context.set("record", record);
      return isGood(record);
    },
  }),
);

app.get("/_keygate/verify", (context) => decided(context.get("record"), demands(context.req.raw)));

export default app;
