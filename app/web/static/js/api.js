// REST: JSON in and out; an error is the server's own problem+json sentence.
const BASE = "/api/v1";

export class ApiError extends Error {
  /** `fields` is {kebab-key: message} for a 422. Status 0: the server did not answer. */
  constructor(status, title, detail, fields = {}) {
    super(detail || title);
    this.name = "ApiError";
    this.status = status;
    this.title = title;
    this.fields = fields;
  }
}

async function call(method, path, { query, body, signal } = {}) {
  const url = new URL(path.startsWith("/api/") ? path : BASE + path, location.origin);
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(key, value);
  }
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Constellation"] = "1"; // a form of another origin cannot set it
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "No answer", "The dashboard's server does not answer. It is tried again.");
  }
  const text = await response.text();
  let parsed = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = null; // an error page of something in between
  }
  if (response.ok) return parsed;
  const fields = {};
  for (const error of parsed?.errors ?? []) fields[error.field] ??= error.message;
  throw new ApiError(
    response.status,
    parsed?.title ?? response.statusText,
    parsed?.detail ?? `The server answered ${response.status}.`,
    fields,
  );
}

export const get = (path, query, signal) => call("GET", path, { query, signal });
export const post = (path, body, signal) => call("POST", path, { body: body ?? {}, signal });
export const remove = (path) => call("DELETE", path);
/** The address of something the browser fetches itself, as a download. */
export const href = (path) => BASE + path;
