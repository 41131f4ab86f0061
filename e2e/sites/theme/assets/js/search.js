// Looks the words of ?q= up in an index that the build wrote, without a server.
(async () => {
  const query = new URLSearchParams(location.search).get('q') || 'ink';
  const answer = await fetch('/search.json');
  if (!answer.ok) throw new Error(`search.json: ${answer.status}`);
  const found = (await answer.json()).filter((page) => page.text.toLowerCase().includes(query.toLowerCase()));
  const list = document.getElementById('results');
  for (const page of found) {
    const item = document.createElement('li');
    item.innerHTML = `<a href="${page.url}">${page.title}</a>`;
    item.style.marginBottom = '0.5rem';
    list.append(item);
  }
  document.getElementById('count').textContent = `${found.length} pages with “${query}”`;
})();
