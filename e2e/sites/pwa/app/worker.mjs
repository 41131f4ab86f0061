self.onmessage = (event) => self.postMessage(event.data.indexOf(Math.max(...event.data)));
