// The page is drawn by page-view from what the release says. Pages may be components, and so this one can be drawn alone.
Component({
  data: { content: null },
  lifetimes: {
    attached() {
      const app = getApp();
      this.unwatch = app.watch((content) => this.setData({ content }));
    },
    detached() {
      this.unwatch();
    },
  },
  methods: {
    open(event) {
      wx.navigateTo({ url: event.detail.link });
    },
  },
});
