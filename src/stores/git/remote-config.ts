/**
 * What git is told of a remote. Credentials of an http URL go as configuration, which travels in the environment: git
 * hands a URL to its helpers as an argument, and everybody on the machine can list those.
 */
export function remoteConfig(name: string, remote: string): (readonly [string, string])[] {
  const key = `remote.${name}.url`;
  const [, scheme = "", userinfo, rest = ""] = /^(https?:\/\/)(?:([^/]*)@)?(.*)$/is.exec(remote) ?? [];
  if (userinfo === undefined) return [[key, remote]];
  const at = scheme + (/^[^/?#]*/.exec(rest)?.[0] ?? "");
  const [user = "", password] = [/^[^:]*/.exec(userinfo)?.[0], /:(.*)$/s.exec(userinfo)?.[1]].map(decoded);
  const url = [key, scheme + rest] as const;
  if (password === undefined) return [url, [`credential.${at}.username`, user]];
  const basic = Buffer.from(`${user}:${password}`).toString("base64");
  // Should they be refused, nobody else is asked.
  return [url, [`http.${at}.extraHeader`, `Authorization: Basic ${basic}`], ["credential.helper", ""]];
}

function decoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return text; // a lone % means itself, as git reads it
  }
}
