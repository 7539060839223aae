// Draws a page from data of the active release. This code went through the platform's review; what it draws is published.
Component({
  properties: {
    /** { title, color, background, image, items: [{ text, link }] } */
    page: Object,
    /** Where the release's files lie, for images. */
    base: String,
  },
  methods: {
    open(event) {
      this.triggerEvent("open", { link: event.currentTarget.dataset.link });
    },
  },
});
