<?php
// Prints "ok" if PHP can do everything that a site needs, and otherwise the problems, with status
// 200 in both cases: those who read other responses do not get the text. nginx runs it at its
// status port, for the readiness of the server.
$wrong = [];
set_error_handler(function (int $severity, string $message) use (&$wrong): bool {
    $wrong[] = $message;
    return true;
});

foreach (['curl', 'dom', 'exif', 'fileinfo', 'gd', 'intl', 'mbstring', 'session', 'SimpleXML', 'xml', 'Zend OPcache', 'zip'] as $extension) {
    if (!extension_loaded($extension)) {
        $wrong[] = "extension $extension is not loaded";
    }
}

// Without a cookie, which only the second request of a visitor would have.
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');
$value = bin2hex(random_bytes(8));
if (session_start()) {
    $_SESSION['probe'] = $value;
    session_write_close();
    $_SESSION = [];
    session_start();
    if (($_SESSION['probe'] ?? '') !== $value) {
        $wrong[] = 'cannot read a session that was written';
    }
    session_destroy();
} else {
    $wrong[] = 'cannot start a session';
}

$file = tempnam('/tmp/', 'probe');
if ($file === false || file_put_contents($file, $value) === false || file_get_contents($file) !== $value) {
    $wrong[] = 'cannot write a file below /tmp';
}
if ($file !== false) {
    unlink($file);
}

if (!is_dir('/srv/site/current/site') || scandir('/srv/site/current/site') === false) {
    $wrong[] = 'cannot read the release: /srv/site/current/site';
}

header('Content-Type: text/plain; charset=utf-8');
header('Cache-Control: no-store');
echo $wrong === [] ? 'ok' : implode("\n", $wrong), "\n";
