// The sound of `data`: MP3 in base64, decoded when it is first needed, played from any time to any other.
const RATE_HZ = 16000;
const AROUND_S = 0.06;
const FADE_S = 0.01;
// Samples that MP3 encoder and decoder put before the sound; browsers that read the encoder's header skip them.
const MP3_DELAY = 1105;

const decoded = new Map();
let output = null;
let stopPlaying = () => {};

const hasSound = (utterance) => Object.hasOwn(data.sound, String(utterance));

function samplesOf(utterance) {
  if (!decoded.has(utterance)) {
    const [encoded, length] = data.sound[utterance];
    const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    decoded.set(utterance, context.decodeAudioData(bytes.buffer).then((buffer) => {
      const skipped = buffer.length >= length + MP3_DELAY ? MP3_DELAY : 0;
      const exact = new AudioBuffer({ length, sampleRate: RATE_HZ });
      exact.copyToChannel(buffer.getChannelData(0).subarray(skipped, skipped + length), 0);
      return exact;
    }));
  }
  return decoded.get(utterance);
}

// Plays an utterance from one second to another, all of it by default; `marked` shows which control it belongs to.
async function play(utterance, marked, start = 0, end = Infinity) {
  stopPlaying();
  output = output || new AudioContext();
  let cancelled = false;
  stopPlaying = () => { cancelled = true; };
  let buffer;
  try {
    buffer = await samplesOf(utterance);
    await output.resume();
  } catch {
    marked.title = "this browser cannot play MP3";
    return;
  }
  if (cancelled) return;
  const from = Math.max(0, start);
  const length = Math.min(end, buffer.duration) - from;
  const source = new AudioBufferSourceNode(output, { buffer });
  const gain = new GainNode(output, { gain: 0 });
  const now = output.currentTime;
  gain.gain.setValueAtTime(0, now);
  gain.gain.linearRampToValueAtTime(1, now + FADE_S);
  gain.gain.setValueAtTime(1, now + Math.max(FADE_S, length - FADE_S));
  gain.gain.linearRampToValueAtTime(0, now + length);
  source.connect(gain).connect(output.destination);
  marked.classList.add("playing");
  stopPlaying = () => { marked.classList.remove("playing"); source.onended = null; source.stop(); stopPlaying = () => {}; };
  source.onended = () => stopPlaying();
  source.start(now, from, Math.max(0.03, length));
}

// Plays one pair of an alignment with a little of what is around it.
function playPair(utterance, pair, marked) {
  const [start, end] = data.utterances[utterance].times[pair];
  return play(utterance, marked, start / 1000 - AROUND_S, end / 1000 + AROUND_S);
}
