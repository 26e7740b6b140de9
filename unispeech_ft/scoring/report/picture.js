// Waveform above, spectrogram below, the recognised phones under them where they were said.
const WINDOW = 256;
const TOP_HZ = 8000;
const RANGE_DB = 65;

// Power in dB of each frequency, of one window of samples; a plain radix-2 transform.
function spectrum(samples, start, hann) {
  const re = new Float32Array(WINDOW), im = new Float32Array(WINDOW);
  for (let n = 0, reversed = 0; n < WINDOW; n++) {
    re[reversed] = (samples[start + n] || 0) * hann[n];
    let bit = WINDOW >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed |= bit;
  }
  for (let size = 2; size <= WINDOW; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const cos = Math.cos((-2 * Math.PI * k) / size), sin = Math.sin((-2 * Math.PI * k) / size);
      for (let even = k; even < WINDOW; even += size) {
        const odd = even + size / 2;
        const x = re[odd] * cos - im[odd] * sin, y = re[odd] * sin + im[odd] * cos;
        re[odd] = re[even] - x; im[odd] = im[even] - y; re[even] += x; im[even] += y;
      }
    }
  }
  return re.slice(0, WINDOW / 2).map((x, k) => 10 * Math.log10(x * x + im[k] * im[k] + 1e-9));
}

function colour(share) {
  const s = Math.min(1, Math.max(0, share));
  return [255 * Math.min(1, 1.6 * s), 255 * Math.max(0, 1.5 * s - 0.45), 255 * (s < 0.4 ? s : 0.4 - 0.5 * (s - 0.4))];
}

function drawSpectrogram(pen, samples, from, length, width, top, height) {
  const hann = Float32Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
  const columns = Array.from({ length: width }, (_, x) =>
    spectrum(samples, Math.round((from + (x / width) * length) * RATE_HZ - WINDOW / 2), hann));
  const loudest = Math.max(...columns.map((column) => Math.max(...column)));
  const image = pen.createImageData(width, height);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const bin = Math.floor(((height - 1 - y) / height) * (WINDOW / 2) * (TOP_HZ / (RATE_HZ / 2)));
      image.data.set([...colour(1 - (loudest - columns[x][bin]) / RANGE_DB), 255], 4 * (y * width + x));
    }
  }
  pen.putImageData(image, 0, top);
}

function drawWaveform(pen, samples, from, length, width, height) {
  const part = samples.subarray(Math.round(from * RATE_HZ), Math.round((from + length) * RATE_HZ));
  const peak = part.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-4);
  pen.fillStyle = "#8fc1ff";
  for (let x = 0; x < width; x++) {
    const piece = part.subarray(Math.floor((x / width) * part.length), Math.ceil(((x + 1) / width) * part.length));
    let low = 0, high = 0;
    for (const value of piece) { low = Math.min(low, value); high = Math.max(high, value); }
    const y = (value) => height / 2 - (value / peak) * (height / 2 - 2);
    pen.fillRect(x, y(high), 1, Math.max(1, y(low) - y(high)));
  }
}

function drawPhones(pen, item, from, length, width, top, bottom, scale, chosen) {
  pen.font = `${13 * scale}px system-ui, sans-serif`;
  pen.textAlign = "center";
  const ends = [-Infinity, -Infinity];
  item.pairs.forEach(([said, heard], pair) => {
    const [start, end] = item.times[pair].map((ms) => ((ms / 1000 - from) / length) * width);
    if (pair === chosen) {
      pen.fillStyle = "rgba(255, 220, 120, .3)";
      pen.fillRect(start - 1, 0, end - start + 2, bottom);
    }
    if (heard < 0 || end < 0 || start > width) return;
    pen.fillStyle = "rgba(255, 255, 255, .4)";
    pen.fillRect(start, 0, 1, top);
    pen.fillRect(end, 0, 1, top);
    const name = data.names[heard], middle = (start + end) / 2, half = pen.measureText(name).width / 2 + 1;
    const row = ends.findIndex((taken) => taken < middle - half);
    if (row < 0) return;
    ends[row] = middle + half;
    pen.fillStyle = said === heard ? "#e8e9eb" : "#ffb070";
    const y = top + (16 + 16 * row) * scale;
    pen.fillText(name, middle, y);
    if (said !== heard) pen.fillRect(middle - half, y + 3 * scale, 2 * half, 2 * scale);
  });
}

// Draws an utterance, or a stretch of it around one pair.
async function drawPicture(canvas, utterance, chosen = -1) {
  let buffer;
  try { buffer = await samplesOf(utterance); } catch { canvas.remove(); return; }
  const item = data.utterances[utterance], scale = Math.min(2, window.devicePixelRatio || 1);
  let from = 0, length = buffer.duration;
  if (chosen >= 0) {
    const [start, end] = item.times[chosen].map((ms) => ms / 1000);
    length = Math.min(buffer.duration, Math.max(1.2, end - start + 0.6));
    from = Math.min(Math.max(0, (start + end - length) / 2), buffer.duration - length);
  }
  const width = canvas.width = Math.round(Math.max(200, canvas.clientWidth) * scale);
  canvas.height = Math.round((chosen >= 0 ? 130 : 200) * scale);
  const labels = Math.round(38 * scale), wave = Math.round(canvas.height * 0.26);
  const pen = canvas.getContext("2d"), samples = buffer.getChannelData(0);
  drawWaveform(pen, samples, from, length, width, wave);
  drawSpectrogram(pen, samples, from, length, width, wave, canvas.height - wave - labels);
  drawPhones(pen, item, from, length, width, canvas.height - labels, canvas.height, scale, chosen);
  canvas.setAttribute("aria-label", `waveform, spectrogram up to ${TOP_HZ / 1000} kHz and recognised phones of ${item.id}`);
}
