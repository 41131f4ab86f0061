<?php
// Bookmarks of the time when a database made the pages.
$moved = ['12' => '/2025/11/02/a-table-of-teas/', '31' => '/2026/04/20/keys-of-ash/'];
$to = $moved[$_GET['p'] ?? ''] ?? null;
if ($to === null) {
    http_response_code(404);
    exit('<!doctype html><title>Gone</title><p>No such post.');
}
header("Location: $to", true, 301);
