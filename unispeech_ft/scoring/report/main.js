// Starts the page: the matrix, and the utterances with the highest error rate.
if (data.axis.length) document.getElementById("matrix").replaceChildren(makeMatrix());
if (data.left_out) {
  const note = `${data.left_out} rarer phones are left out of the matrix.`;
  document.getElementById("matrix").after(element("p", note, { class: "soft" }));
}

// One phone of an alignment is in the order of the Tab key; the left and right arrows go to the others.
function walkPairs(list, utterance) {
  const buttons = [...list.querySelectorAll("button")];
  const enter = (button) => {
    for (const other of buttons) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  };
  buttons.forEach((button, place) => {
    button.tabIndex = place ? -1 : 0;
    button.addEventListener("click", () => { enter(button); playPair(utterance, +button.dataset.pair, button); });
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step && buttons[buttons.indexOf(event.target.closest("button")) + step];
    if (next) { enter(next); event.preventDefault(); }
  });
}

const drawWhenSeen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    drawWhenSeen.unobserve(target);
    drawPicture(target, +target.closest("article").dataset.utterance);
  }
}, { rootMargin: "300px" });

for (const article of document.querySelectorAll("article")) {
  const utterance = +article.dataset.utterance, button = article.querySelector("button.play");
  if (!button) continue;
  button.addEventListener("click", () => play(utterance, button));
  walkPairs(article.querySelector(".pairs"), utterance);
  const canvas = article.querySelector("canvas");
  drawWhenSeen.observe(canvas);
  canvas.addEventListener("click", (event) => {
    const { times, pairs } = data.utterances[utterance];
    const share = event.offsetX / canvas.clientWidth;
    samplesOf(utterance).then((buffer) => {
      const ms = 1000 * share * buffer.duration;
      const pair = times.findIndex(([start, end], place) => pairs[place][1] >= 0 && start <= ms && ms < end);
      if (pair >= 0) playPair(utterance, pair, button);
    });
  });
}
