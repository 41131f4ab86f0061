export const heights = () => Array.from({ length: 25 }, (_, hour) => Math.sin(hour / 4));
