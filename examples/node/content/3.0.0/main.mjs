import { price } from "./prices.mjs";

console.log(`shop 3.0.0: tea costs ${price}`);
process.send("works");
