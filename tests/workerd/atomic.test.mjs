// A command counts as a whole or not at all: it is failed at every one of its SQL statements, and each time everything
// is as before. Needs the build with the cargo feature `trap`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { auditOf } from "./harness/audit.mjs";
import { mustBeBuilt, trapping } from "./harness/bundle.mjs";
import { admin, createAccount, issueKey, listAll, revokeKey, slots } from "./harness/client.mjs";
import { databases } from "./harness/database.mjs";
import { eventually, problem, success } from "./harness/expect.mjs";
import { startWorkerd } from "./harness/workerd.mjs";

mustBeBuilt(trapping);

/** A command has fewer statements than this. */
const STATEMENTS_MAX = 60;

// A command that writes at least changes its row, counts itself, and notes what follows from it.
const STATEMENTS_MIN = 5;

const CHANGES = {
  name: "Changed",
  external_id: "changed",
  features: ["exports"],
  api_access: { live: "active", test: "off" },
};

for (const configured of ["0", "0 1 2"]) {
  describe(`with the slots ${configured}, failed at every statement`, () => {
    let server, account, active, revoked, workspace;
    before(async () => {
      server = await startWorkerd({ bundle: trapping, env: { KEYGATE_SLOTS: configured } });
      account = await createAccount(server, { external_id: "before", max_active_keys: 100 });
      active = await issueKey(server, account, { name: "before", scopes: ["a:b"] });
      revoked = await revokeKey(server, account, await issueKey(server, account));
      workspace = success(await admin(server, "POST", `${path()}/workspaces`, { name: "North" }), 201);
      await mirrored();
    });
    after(() => server?.stop());

    const mirrored = () =>
      eventually(async () => {
        for (const { unmirrored } of await slots(server)) assert.equal(unmirrored, 0);
        for (const { tables } of databases(server)) assert.deepEqual([tables.sweeps, tables.outbox], [[], []]);
      });

    /** Everything there is: as operators see it, as the databases say it themselves, on disk, and in KV. */
    async function everything() {
      const accounts = await listAll(server, "/accounts");
      const [keys, audit, shown] = await Promise.all([
        Promise.all(accounts.map(({ id }) => listAll(server, `/accounts/${id}/keys`))),
        Promise.all(accounts.map((account) => auditOf(server, account))),
        slots(server),
      ]);
      return {
        accounts,
        keys,
        audit,
        slots: shown,
        disk: databases(server).map(withoutHeartbeat),
        mirror: new Map(server.kv.records),
        puts: server.kv.counts.put,
      };
    }

    /** The heartbeat is no command's: an answer may be proved by it, and a refusal too. */
    function withoutHeartbeat({ path, tables }) {
      const meta = tables.meta.map(({ heartbeat, ...row }) => row);
      return { path, tables: { ...tables, meta } };
    }

    const path = () => `/accounts/${account.id}`;
    const keyPath = () => `${path()}/keys/${active.id}`;

    const ofAccounts = {
      "creating an account": {
        call: (options) => admin(server, "POST", "/accounts", { name: "New", external_id: "new" }, options),
        status: 201,
      },
      "changing an account": {
        call: (options) => admin(server, "PATCH", path(), CHANGES, options),
      },
    };
    const ofKeys = {
      "issuing a key": {
        call: (options) => admin(server, "POST", `${path()}/keys`, { environment: "live", name: "New" }, options),
        status: 201,
      },
      "changing a key": {
        call: (options) => admin(server, "PATCH", keyPath(), { name: "Changed", disabled: true }, options),
      },
      "revoking a key": {
        call: (options) => admin(server, "POST", `${keyPath()}/revoke`, undefined, options),
      },
      "revoking a key again": {
        call: (options) => admin(server, "POST", `${path()}/keys/${revoked.id}/revoke`, undefined, options),
      },
      "creating a workspace": {
        call: (options) => admin(server, "POST", `${path()}/workspaces`, { name: "New" }, options),
        status: 201,
      },
      "archiving a workspace": {
        call: (options) => admin(server, "POST", `${path()}/workspaces/${workspace.id}/archive`, undefined, options),
      },
      "revoking all keys": {
        call: (options) => admin(server, "POST", `${path()}/keys/revoke-all`, undefined, options),
      },
    };

    // An account's command can concern other slots, a key's cannot.
    const commands = { ...ofAccounts, ...(configured === "0" ? ofKeys : {}) };
    for (const [name, { call, status = 200 }] of Object.entries(commands)) {
      test(name, async (t) => {
        // The caller's own repeats, too, find nothing of an attempt that failed.
        const id = { "Idempotency-Key": `atomic ${configured} ${name}`.padEnd(32, ".").replaceAll(" ", "_") };
        const attempt = (statement) => call({ headers: { ...id, "X-Keygate-Trap": `authority-fail-${statement}` } });

        await mirrored();
        const earlier = await everything();
        let statement = 0;
        for (; statement < STATEMENTS_MAX; statement += 1) {
          const answer = await attempt(statement);
          if (answer.status === status) break;
          problem(answer, 503, "indeterminate");
          assert.deepEqual(await everything(), earlier, `statement ${statement} left something`);
        }
        t.diagnostic(`${statement} statements`);
        assert.ok(statement >= STATEMENTS_MIN && statement < STATEMENTS_MAX, `${statement} statements`);

        await mirrored();
        const later = await everything();
        assert.notDeepEqual(later.disk, earlier.disk);
        assert.notDeepEqual(
          later.slots.map(({ dump }) => dump),
          earlier.slots.map(({ dump }) => dump),
        );
        assert.ok(later.puts > earlier.puts);

        // What was carried out once is not carried out again.
        success(await call({ headers: id }), status);
        assert.deepEqual(await everything(), later);
      });
    }

    test("an answer that is given again needs no luck either", async () => {
      const headers = { "Idempotency-Key": `atomic-${configured.replaceAll(" ", "-")}-repeated-command` };
      const issue = (more) =>
        admin(server, "POST", `${path()}/keys`, { environment: "live" }, { headers: { ...headers, ...more } });
      const first = await issue();
      success(first, 201);
      await mirrored();
      const earlier = await everything();
      let statement = 0;
      for (; statement < STATEMENTS_MAX; statement += 1) {
        const answer = await issue({ "X-Keygate-Trap": `authority-fail-${statement}` });
        if (answer.status === 201) {
          assert.equal(answer.text, first.text);
          break;
        }
        problem(answer, 503, "indeterminate");
      }
      assert.ok(statement >= 1 && statement < STATEMENTS_MAX, `${statement} statements`);
      assert.deepEqual(await everything(), earlier);
    });
  });
}
