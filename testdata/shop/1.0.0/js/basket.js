const vouchers = { WELCOME: 10, REGULAR: 5 };

export class Basket {
  constructor(storage) {
    this.storage = storage;
    this.listeners = [];
    try {
      const kept = JSON.parse(storage.getItem("basket") || "{}");
      this.items = new Map(Object.entries(kept.items || {}));
      this.voucher = kept.voucher;
    } catch {
      this.items = new Map();
    }
  }

  onChange(f) { this.listeners.push(f); }

  changed() {
    this.storage.setItem("basket", JSON.stringify({ items: Object.fromEntries(this.items), voucher: this.voucher }));
    this.listeners.forEach((f) => f());
  }

  lines() { return [...this.items]; }

  add(id) { this.items.set(id, (this.items.get(id) || 0) + 1); this.changed(); }

  remove(id) { this.items.delete(id); this.changed(); }

  useVoucher(code) {
    code = code.trim().toUpperCase();
    if (!(code in vouchers)) return false;
    this.voucher = code;
    this.changed();
    return true;
  }

  discounted(total) { return this.voucher ? Math.round(total * (100 - vouchers[this.voucher]) / 100) : total; }
}
