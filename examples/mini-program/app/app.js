// The mini-program's frame. It went through the platform's review and changes rarely; what the pages show is a release.
const config = require("./config");
const { openShop } = require("./update");

App({
  content: null,
  watchers: [],

  onLaunch() {
    this.ready = openShop(wx, config, (content) => this.show(content)).then((shop) => (this.shop = shop));
    this.ready.catch((err) => console.error("updates are off", err));
  },

  /** An error that nobody caught: while a release is on trial it counts against that release. */
  onError(message) {
    if (this.shop) this.shop.failed(message);
  },

  /** Shows content on every page that watches, now and when it changes. */
  show(content) {
    this.content = content;
    for (const watcher of this.watchers) watcher(content);
  },

  watch(watcher) {
    this.watchers.push(watcher);
    if (this.content) watcher(this.content);
    return () => (this.watchers = this.watchers.filter((one) => one !== watcher));
  },
});
