import { price } from "./price.mjs";

console.log(`shop 2.0.0: tea is cheaper today: ${price}`);
process.send("works");
// It ends with its launcher.
process.on("disconnect", () => process.exit());
setInterval(() => {}, 1000);
