<?php
// What old pages take for granted.
require __DIR__ . '/../inc/clinic.php';
$picture = imagecreatetruecolor(8, 8);
ob_start();
imagepng($picture);
$png = ob_get_clean();
$archive = new ZipArchive();
$file = tempnam(sys_get_temp_dir(), 'zip');
$archive->open($file, ZipArchive::OVERWRITE);
$archive->addFromString('a.txt', 'a');
$archive->close();
$found = [
    'mbstring' => mb_strlen('Räder') === 5,
    'intl' => (new NumberFormatter('de_AT', NumberFormatter::DECIMAL))->format(1.5) === '1,5',
    'xml' => simplexml_load_string('<a><b>1</b></a>')->b == 1,
    'dom' => (new DOMDocument())->loadXML('<a/>'),
    'gd' => str_starts_with($png, "\x89PNG"),
    'zip' => filesize($file) > 0,
    'curl' => function_exists('curl_init'),
    'opcache' => function_exists('opcache_get_status'),
    'json' => json_encode(opening()) === '{"from":9}',
];
unlink($file);
header('Content-Type: text/html; charset=utf-8');
echo '<!doctype html><html lang="de"><title>Words</title><link rel="icon" href="data:,"><ul>';
foreach ($found as $name => $works) {
    echo "<li>$name: ", $works ? 'works' : 'fails', '</li>';
}
echo '</ul><a href="/">Start</a></html>';
