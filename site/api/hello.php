<?php

// Says which PHP answers, and for which release. The server writes release.json
// beside the directory of the site's files; elsewhere the release is null.

declare(strict_types=1);

$file = dirname(__DIR__, 2) . '/release.json';
$manifest = is_file($file) ? json_decode((string) file_get_contents($file), true) : null;

header('Content-Type: application/json');
header('Cache-Control: no-store');
echo json_encode(['php' => PHP_VERSION, 'release' => $manifest['release'] ?? null]), "\n";
