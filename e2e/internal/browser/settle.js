// Waits until the page has its fonts, pictures and players, keeps it still, and returns what it
// refers to.
(async () => {
  const problems = [];
  const still = new CSSStyleSheet();
  // What a player's buttons look like depends on how much it has loaded already.
  still.replaceSync('video::-webkit-media-controls, audio::-webkit-media-controls { display: none !important } *, *::before, *::after { animation: none !important; transition: none !important; caret-color: transparent !important; scroll-behavior: auto !important }');
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];

  await document.fonts.ready;
  for (const face of document.fonts) {
    if (face.status === 'error') problems.push(`font: ${face.family} did not load`);
  }
  await Promise.all([...document.images].filter((image) => image.currentSrc).map((image) =>
    image.decode().catch(() => problems.push(`picture: ${image.currentSrc} cannot be decoded`))));
  await Promise.all([...document.querySelectorAll('video, audio')].filter((player) => player.preload !== 'none').map((player) => new Promise((done) => {
    const over = () => {
      if (player.error) problems.push(`player: ${player.currentSrc}: ${player.error.message}`);
      done();
    };
    if (player.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA || player.error) return over();
    const wanted = player.preload === 'metadata' ? 'loadedmetadata' : 'loadeddata';
    if (player.readyState >= HTMLMediaElement.HAVE_METADATA && wanted === 'loadedmetadata') return over();
    player.addEventListener(wanted, over, { once: true });
    player.addEventListener('error', over, { once: true, capture: true });
  })));
  if (document.activeElement) document.activeElement.blur();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

  const links = new Set();
  const add = (text) => {
    if (!text) return;
    try {
      links.add(new URL(text, document.baseURI).href);
    } catch {
      problems.push(`link: ${text} is no URL`);
    }
  };
  const attributes = {
    href: 'a[href], area[href], link[href], use[href]', src: '[src]', poster: '[poster]', data: 'object[data]', cite: '[cite]',
  };
  for (const [name, selector] of Object.entries(attributes)) {
    for (const element of document.querySelectorAll(selector)) {
      const rel = element.getAttribute('rel') || '';
      if (!/\b(preconnect|dns-prefetch)\b/.test(rel)) add(element.getAttribute(name));
    }
  }
  for (const element of document.querySelectorAll('[srcset], [imagesrcset]')) {
    const candidates = (element.getAttribute('srcset') || element.getAttribute('imagesrcset')).trim();
    for (const [, candidate] of candidates.matchAll(/([^\s,]\S*[^\s,])(?:\s+[\d.]+[wx])?\s*(?:,|$)/g)) add(candidate);
  }
  for (const form of document.querySelectorAll('form[action]')) {
    if (form.method === 'get') add(form.getAttribute('action'));
  }
  for (const meta of document.querySelectorAll('meta[property="og:image"], meta[name="twitter:image"], meta[name="msapplication-config"]')) add(meta.content);
  return { url: location.href, links: [...links], problems };
})()
