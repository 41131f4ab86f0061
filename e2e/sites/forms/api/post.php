<?php
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(405);
    header('Allow: POST');
    exit('POST only');
}
echo 'posted ', (int) $_SERVER['CONTENT_LENGTH'];
