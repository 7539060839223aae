// Draws a page from data of the active release. This code went through the platform's review; what it draws is published.
Component({
  properties: {
    /** { title, color, background, base, blocks: [{ kind: "banner" | "title" | "prices" | "links", … }] }; base: where the release's files lie. */
    content: Object,
  },
  methods: {
    open(event) {
      this.triggerEvent("open", { link: event.currentTarget.dataset.link });
    },
  },
});
