// Loaded before Portkey (node --import). It does two things:
// 1. Portkey 1.15.2 responds 500 ("TypeError: immutable") to every streamed request under Node 20, because it appends to
//    the headers of fetch's own Response. It gets a copy whose headers may be changed.
// 2. Portkey listens on every interface. Here it listens on 127.0.0.1 only, and with a backlog of 4096.
import net from "node:net";

const fetch = globalThis.fetch;
globalThis.fetch = async (...args) => {
  const response = await fetch(...args);
  const { status, statusText, headers } = response;
  return new Response(response.body, { status, statusText, headers });
};

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "number") {
    const done = rest.find((value) => typeof value === "function");
    return listen.call(this, { port, host: "127.0.0.1", backlog: 4096 }, done);
  }
  return listen.call(this, port, ...rest);
};
