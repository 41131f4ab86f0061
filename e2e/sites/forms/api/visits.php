<?php
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
header('Content-Type: text/html; charset=utf-8');
echo '<!doctype html><html lang="de"><title>Visits</title><link rel="icon" href="data:,"><p>Visit ', $_SESSION['visits'], '</p><a href="/">Start</a></html>';
