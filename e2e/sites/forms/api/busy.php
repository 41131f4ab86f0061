<?php
// Closed for stocktaking, until somebody says otherwise.
http_response_code(503);
header('Retry-After: 3600');
echo '<!doctype html><title>Closed</title><link rel="icon" href="data:,"><p>Closed for stocktaking.';
