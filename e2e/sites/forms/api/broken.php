<?php
// Broken since an update of PHP.
mysql_connect('localhost');
