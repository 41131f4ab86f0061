---
layout: null
permalink: /redirects.php
---
<?php

// Answers for what is not a file of this release: the web server runs it in the
// place of a missing file. What moved and what is gone is in _data/redirects.yml.

declare(strict_types=1);

$redirects = json_decode(<<<'JSON'
{{ site.data.redirects | jsonify }}
JSON, true, flags: JSON_THROW_ON_ERROR);

[$path, $query] = explode('?', $_SERVER['REQUEST_URI'], 2) + [1 => ''];
$path = rawurldecode($path);

$moved = array_column($redirects['moved'] ?? [], 'to', 'from');
if (isset($moved[$path])) {
    // For an hour, so that a mistake can be taken back.
    header('Cache-Control: max-age=3600');
    header('Location: ' . $moved[$path] . ($query === '' ? '' : "?$query"), true, 301);
} elseif (in_array($path, $redirects['gone'] ?? [], true)) {
    http_response_code(410);
} else {
    http_response_code(404);
}
