// Requests to our own server. A refusal becomes an `ApiError` with the server's own words.

export class ApiError extends Error {
  constructor(
    text: string,
    readonly status: number,
    readonly parameter = "",
  ) {
    super(text);
  }
}

interface Refusal {
  error?: { text?: string; parameter?: string };
}

async function checked(answer: Response): Promise<Response> {
  if (answer.ok && !answer.redirected) return answer;
  let said: Refusal = {};
  try {
    said = (await answer.json()) as Refusal;
  } catch {
    // not ours to explain: a proxy's page, or an answer cut short
  }
  throw new ApiError(said.error?.text ?? `HTTP ${answer.status}`, answer.status, said.error?.parameter);
}

/** GET JSON. */
export async function get<T>(address: string, signal?: AbortSignal): Promise<T> {
  const answer = await checked(await fetch(address, signal ? { signal } : {}));
  return (await answer.json()) as T;
}

/** GET bytes. */
export async function getBytes(address: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  return (await checked(await fetch(address, signal ? { signal } : {}))).arrayBuffer();
}

/** POST JSON; the answer's body whatever its status, since an outcome is not a fault. */
export async function post<T>(address: string, body: unknown): Promise<{ status: number; body: T }> {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const said = (await answer.json()) as T & Refusal;
  if (said.error) throw new ApiError(said.error.text ?? `HTTP ${answer.status}`, answer.status, said.error.parameter);
  return { status: answer.status, body: said };
}
