<?php
$file = $_FILES['picture'] ?? null;
if ($file === null || $file['error'] !== UPLOAD_ERR_OK) {
    http_response_code(400);
    exit('error ' . ($file['error'] ?? 'none'));
}
header('Content-Type: application/json');
echo json_encode(['name' => $file['name'], 'size' => $file['size'], 'sha256' => hash_file('sha256', $file['tmp_name'])]);
