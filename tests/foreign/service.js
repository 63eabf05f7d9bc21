// A WebSocket echo service as people write it for Node: ws and prom-client.
//
// Arguments: the port of the service, the port of the metrics, and `honest` or `lying`. The lying
// one takes code 1006, an end without a close frame, for a client that will be back in a moment.

const http = require("node:http");
const client = require("prom-client");
const { WebSocketServer } = require("ws");

const [port, metricsPort, manner] = process.argv.slice(2);
const active = new client.Gauge({ name: "active_connections", help: "Open WebSocket sessions." });

http
  .createServer(async (_, response) => {
    response.setHeader("content-type", client.register.contentType);
    response.end(await client.register.metrics());
  })
  .listen(Number(metricsPort), "127.0.0.1");

new WebSocketServer({ host: "127.0.0.1", port: Number(port) }).on("connection", (socket) => {
  active.inc();
  socket.on("message", (message) => socket.send(message));
  socket.on("close", (code) => {
    if (manner === "honest" || code !== 1006) active.dec();
  });
});
