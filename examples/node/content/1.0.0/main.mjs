import { price } from "./price.mjs";

console.log(`shop 1.0.0: tea costs ${price}`);
process.send("works");
// It ends with its launcher.
process.on("disconnect", () => process.exit());
setInterval(() => {}, 1000);
