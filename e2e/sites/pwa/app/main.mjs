import { heights } from './tide.mjs';

const wasm = await WebAssembly.instantiateStreaming(fetch('/app/add.wasm'));
const worker = new Worker('/app/worker.mjs', { type: 'module' });
const highest = await new Promise((done, failed) => {
  worker.onmessage = (event) => done(event.data);
  worker.onerror = (event) => failed(new Error(`worker: ${event.message}`));
  worker.postMessage(heights());
});
const pen = document.getElementById('curve').getContext('2d');
pen.beginPath();
heights().forEach((height, hour) => pen.lineTo(hour * 26, 100 - height * 80));
pen.stroke();
document.getElementById('next').textContent = `High water at ${wasm.instance.exports.add(highest, 0)}:00`;

if ('serviceWorker' in navigator) await navigator.serviceWorker.register('/sw.js');
