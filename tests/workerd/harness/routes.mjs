// Route tables as the tests read them. The values in those that they read happen to be JSON.

/** The rules of a table's text: `{methods, path, scopes, resource, verb, workspace, feature, environment, strict, public}`. */
export function rulesOf(table) {
  return table
    .split(/^\[\[route\]\]$/m)
    .slice(1)
    .map((block) => {
      const members = [...block.matchAll(/^(\w+) *= *(.+)$/gm)].map(([, name, value]) => [name, JSON.parse(value)]);
      const { method, ...rule } = Object.fromEntries(members);
      return { methods: [method].flat(), ...rule };
    });
}
