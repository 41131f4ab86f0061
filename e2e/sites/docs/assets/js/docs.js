// Anchors at headings, a button at each listing, and the search of the side bar.
for (const heading of document.querySelectorAll('main h2[id], main h3[id]')) {
  heading.insertAdjacentHTML('beforeend', ` <a class="anchor" href="#${heading.id}" aria-label="Link to this section">#</a>`);
}
for (const block of document.querySelectorAll('pre')) {
  const button = document.createElement('button');
  button.textContent = 'Copy';
  button.style.cssText = 'float: right';
  button.addEventListener('click', () => navigator.clipboard.writeText(block.innerText));
  block.prepend(button);
}
const input = document.getElementById('search-input');
const request = new XMLHttpRequest();
request.open('GET', input.dataset.index, true);
request.onload = () => {
  if (request.status !== 200) return console.error(`search index: ${request.status}`);
  const pages = Object.values(JSON.parse(request.responseText));
  input.placeholder += ` (${pages.length} pages)`;
  input.addEventListener('input', () => {
    const results = document.getElementById('search-results');
    results.hidden = input.value === '';
    results.replaceChildren(...pages.filter((page) => page.content.includes(input.value)).map((page) => {
      const item = document.createElement('li');
      item.innerHTML = `<a href="${page.url}">${page.title}</a>`;
      return item;
    }));
  });
};
request.send();
