// Loaded before Portkey's server, which listens on every address and has no option for it.
const { Server } = require("node:net");
const listen = Server.prototype.listen;

Server.prototype.listen = function (first, ...rest) {
  if (first !== null && typeof first === "object") {
    return listen.call(this, { ...first, host: "127.0.0.1" }, ...rest);
  }
  const afterHost = typeof rest[0] === "string" ? rest.slice(1) : rest;
  return listen.call(this, first, "127.0.0.1", ...afterHost);
};
