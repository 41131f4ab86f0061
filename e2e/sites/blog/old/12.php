<?php header('Location: https://' . $_SERVER['HTTP_HOST'] . '/2025/11/02/a-table-of-teas/', true, 302);
