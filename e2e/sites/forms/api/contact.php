<?php
// The pattern of most contact forms: a token in the session, a trap for robots, mail, and a
// redirect to a page that says thank you.
const RELAY_PASSWORD = 'swordfish-is-not-for-visitors';
mb_internal_encoding('UTF-8');
session_start();

if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    $message = $_SESSION['flash'] ?? '';
    unset($_SESSION['flash']);
    header('Content-Type: text/html; charset=utf-8');
    exit('<!doctype html><html lang="de"><title>Post</title><link rel="icon" href="data:,"><p id="flash">' . htmlspecialchars($message) . '</p><a href="/contact/">Form</a></html>');
}
$email = filter_var($_POST['email'] ?? '', FILTER_VALIDATE_EMAIL);
if (($_POST['website'] ?? '') !== '' || $email === false) {
    http_response_code(422);
    exit('<!doctype html><title>No</title><p class="error">Please give your e-mail address.');
}
$name = mb_substr(str_replace(["\r", "\n"], ' ', $_POST['name'] ?? ''), 0, 80);
$sent = mail(
    'clinic@example.org',
    mb_encode_mimeheader("Nachricht von $name"),
    wordwrap($_POST['message'] ?? '', 70),
    ['From' => 'website@example.org', 'Reply-To' => $email, 'Content-Type' => 'text/plain; charset=utf-8', 'Content-Transfer-Encoding' => '8bit']
);
if (!$sent) {
    http_response_code(502);
    exit('<!doctype html><title>Sorry</title><p class="error">The message could not be sent.');
}
$_SESSION['flash'] = "Danke, $name! (" . mb_strlen($name) . ')';
header('Location: /api/contact.php', true, 303);
