// The floor: a Worker that answers without looking.

export default {
  fetch() {
    return new Response("ok");
  },
};
