// Serves the shop from the folder that it lies in. It checks its own data first: a shop with a wrong price list must not open.
"use strict";
const fs = require("fs");
const http = require("http");
const path = require("path");

const read = (name) => JSON.parse(fs.readFileSync(path.join(__dirname, name), "utf8"));
const about = read("shop.json");
const [catalogue, prices, promotions] = about.data.map(read);
for (const product of catalogue.products) {
  if (!Number.isInteger(prices.cents[product.id])) throw new Error(`no price for ${product.id}`);
}
for (const offer of promotions.promotions) {
  if (!(offer.percent > 0 && offer.percent < 100)) throw new Error(`promotion ${offer.id} gives ${offer.percent} %`);
}

const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml" };
const server = http.createServer((req, res) => {
  const name = path.normalize(decodeURIComponent(new URL(req.url, "http://shop").pathname)).replace(/\/$/, "/index.html");
  const file = path.join(__dirname, name);
  if (!file.startsWith(__dirname + path.sep)) return res.writeHead(404).end();
  fs.readFile(file, (err, body) => {
    if (err) return res.writeHead(404).end();
    res.writeHead(200, { "content-type": types[path.extname(file)] || "application/octet-stream" }).end(body);
  });
});
server.listen(Number(process.env.PORT || 0), "127.0.0.1", () => {
  console.log(`${about.name} ${about.version}: ${catalogue.products.length} products on http://127.0.0.1:${server.address().port}/`);
});
process.on("SIGTERM", () => server.close(() => process.exit(0)));
