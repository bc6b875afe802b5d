// Requests to this replica. The token lives in sessionStorage alone, and travels in a header alone.

const KEY = "tsync-token";
const BASE = "/api/v1";

export const token = () => sessionStorage.getItem(KEY) || "";
export function keepToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options = {}, given = token()) {
  const headers = { Accept: "application/json", ...options.headers };
  if (given) headers.Authorization = `Bearer ${given}`;
  let response;
  try {
    response = await fetch(`${BASE}${path}`, { ...options, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(35000) });
  } catch {
    throw new Refused(0, "This replica does not answer.");
  }
  const found = await response.json().catch(() => ({ error: `An answer that is no JSON (${response.status}).` }));
  if (!response.ok) throw new Refused(response.status, found.error || `Status ${response.status}`);
  return found;
}

export const get = (path, query = {}) => {
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return ask(given ? `${path}?${given}` : path);
};
export const post = (path, body = {}) =>
  ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

// Reads one thing at a time. An answer that arrives after a newer question was asked is dropped: null.
export function newest() {
  let asked = 0;
  return async (path, query) => {
    const mine = ++asked;
    try {
      const answer = await get(path, query);
      return mine === asked ? answer : null;
    } catch (error) {
      if (mine === asked) throw error;
      return null;
    }
  };
}
export const tryToken = (given) => ask("/overview", {}, given);
