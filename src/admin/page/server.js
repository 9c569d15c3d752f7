// The admin port. The token, where one is asked for, stays in this tab.
const session = { token: sessionStorage.getItem('pgduet-token') ?? '', who: localStorage.getItem('pgduet-who') ?? '' };

class Refusal extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? `the admin port answered ${status}`);
    this.status = status;
    this.gates = body?.gates;
  }
}

const headers = () => (session.token ? { Authorization: `Bearer ${session.token}` } : {});

const read = async (answer) => {
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body;
};

const get = async (path) => read(await fetch(path, { headers: headers(), cache: 'no-store', signal: AbortSignal.timeout(10_000) }));

const send = async (method, path, body = {}) =>
  read(await fetch(path, { method, headers: { ...headers(), 'Content-Type': 'application/json' }, body: JSON.stringify(body) }));

const changePolicy = (change) => send('PATCH', '/api/policy', { ...change, by: session.who || 'dashboard' });

/** What the gates say of a change, without making it. */
const dryRun = async (change) => {
  try {
    return (await changePolicy({ ...change, dry_run: true })).gates ?? [];
  } catch (error) {
    if (error.gates) return error.gates;
    throw error;
  }
};
