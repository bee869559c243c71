// A static host cannot be told to send headers. This adds the two without which a browser gives no
// shared memory, and so no threads, to a page. It keeps nothing and changes nothing else.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", event => {
  const {request} = event;
  if (!request.url.startsWith(self.location.origin)) return;
  if (request.cache === "only-if-cached" && request.mode !== "same-origin") return;
  event.respondWith(fetch(request).then(answer => {
    if (answer.status === 0) return answer;
    const headers = new Headers(answer.headers);
    headers.set("Cross-Origin-Opener-Policy", "same-origin");
    headers.set("Cross-Origin-Embedder-Policy", "require-corp");
    return new Response(answer.body, {status: answer.status, statusText: answer.statusText, headers});
  }));
});
