<?php
// A report that takes its time.
sleep((int) ($_GET['seconds'] ?? 11));
echo 'done';
